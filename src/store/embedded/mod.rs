//! The in-process API service.
