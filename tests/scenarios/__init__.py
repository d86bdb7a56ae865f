"""Stories through the real socket: a broker as a process, clients that speak frames."""
