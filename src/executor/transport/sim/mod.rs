//! Simulated nodes, below the command.
