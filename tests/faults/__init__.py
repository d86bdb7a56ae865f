"""The faults that a broker must survive, by the numbers of its fault plan, and where each is tried.

The short form of each runs with all tests, the long one (`make faults`, the mark `faults`) takes minutes, and strace
or a disk of its own where that is the only honest way. A run that chooses prints its seed (HOOFBEAT_SEED) and keeps
the history of a failure in a file that it names.

    1  killed again and again   durability/test_total_queue.py, test_everything_killed.py, test_transactions.py
    2  power cut                test_power_cut.py (a trace of the broker's writes, replayed); store/test_lmdb.py
    3  the n-th I/O error       test_io_errors.py (strace), durability/test_write_errors.py (a failing store)
    4  the disk is full         durability/test_full_store.py, test_disk_full.py (a real disk; the last byte)
    5  a slow disk              durability/test_slow_disk.py, test_slow_disk.py (strace)
    6  half-open TCP            test_half_open.py
    7  a slow consumer          test_slow_consumer.py, durability/test_backlog.py
    8  a million messages       test_little_memory.py, durability/test_backlog.py (-m long)
    9  any bytes, any frames    fuzz/ (`make fuzz`), test_any_frames.py
   10  frame bombs              test_frame_bombs.py, stomp/test_parser.py
   13  a clock that jumps       test_clock.py, tests/test_wall.py

`test_broken.py` turns it round: a broker with one defect (`broken.py`), and the fault test that finds it.
"""
