"""The control benchmark: tasks, agents, and tables of how they did."""
