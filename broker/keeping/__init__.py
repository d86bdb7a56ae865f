"""What an operator does with a store as a whole. A module for each command, loaded only when it is used.

- `check`: is it whole? `backup`, `compact`: over `broker.store.tools`;
- `exporting`, `importing`: `hoofbeat export` and `import`, over `lines`, the format of their files;
- `records`: what the records of each stored queue are; `soundness`: what may be wrong with them;
- `place`: which store a command means, and how it looks at it; `apart`: a process that a damaged file may kill.
"""
