//! The command line: `kopeck` serves, `kopeck bank set-password` does what it says.

#![forbid(unsafe_code)]

mod api;
mod app;
mod auth;
mod clock;
mod config;
mod edge;
mod health;
mod money;
mod problem;
mod telemetry;
mod web;

fn main() {}
