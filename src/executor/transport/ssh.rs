//! Commands over SSH.
