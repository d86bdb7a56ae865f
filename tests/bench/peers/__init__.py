"""hoofbeat's remote calls beside other libraries': the same work, on the same machine, in turn.

python -m tests.bench.peers --install      makes an environment for each library, then measures
python -m tests.bench.peers --help

Each library has a module: its server and its client, both processes of their own, run by the Python of an
environment in which that library is installed. These modules know one library and `load`; `table` says what
there is to measure, `houses` starts brokers, `__main__` runs it all. Nothing here is needed by the tests.
"""
