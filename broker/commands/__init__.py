"""What the command line does about remote calls. A module for each command, loaded only when it is used.

- `call`, `services`, `describe`: one client each, over `asking`; `arguments`: how a command line is a call;
- `worker`: serves functions, in this process (`loading`, `running`) or in several (`supervision`);
- `completion`: what a shell may offer at the next TAB;
- `line`: how a command line is read, and how it is complained of.
"""
