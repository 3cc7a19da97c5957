"""The roof: the one command line that mounts each room's commands, the demo and the doctor."""
