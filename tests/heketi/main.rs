//! Heketi's REST as clients meet it: the recorded answers of the original, and bad input.

mod bad_input;
mod behaviour;
mod compare;
mod http;
mod recorded;
mod server;
