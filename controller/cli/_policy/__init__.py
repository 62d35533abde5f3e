"""The parts of `phasegate policy`: reading PATHs, judging them, telling what was found, and one module per subcommand."""
