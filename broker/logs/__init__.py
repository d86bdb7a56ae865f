"""What the operator reads: one line for what deserves one, as text or JSON, whoever wrote it.

    observer.py     the log: levels, format, and no more lines of one kind than a disk bears
    lines.py        an event becomes a line: nothing in it moves a cursor, begins another line, or is a secret
    clients.py      what is said of one client, from its CONNECT to its end

Whatever has something to say uses `twisted.logger.Logger`, and knows none of these.
"""
