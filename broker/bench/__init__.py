"""The benchmark: throughput and latency of any STOMP broker, checked message by message.

`cli` reads the command line and runs `rows` against `targets`, one measurement at a time; `report` and
`plot` show what came out. Every measurement is made by a process of its own (`generator`), over plain
sockets. Nothing in here knows how the broker works inside: it is measured from where its users are.

`docs/benchmark.md` tells what each row does and how to read the table.
"""
