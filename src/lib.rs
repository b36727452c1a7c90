//! Bricklayer.
