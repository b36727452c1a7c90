//! Reading and writing objects.
