"""What a study knows of the code that trains.

`interface` has the protocol. `choose` tells by a study's `trainer` section which one it is: our own (`own`), a command
of the user's (`command`), or a Python function (`function`)."""
