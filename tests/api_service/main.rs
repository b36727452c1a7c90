//! One list of cases for two servers: the embedded API service, always, and a real kube-apiserver when
//! `BRICKLAYER_TEST_KUBECONFIG` names one. Both have to agree on every case; where the embedded service
//! differs on purpose, the case says so and runs there alone.
//!
//! `BRICKLAYER_TEST_REAL=1` makes the real run an obligation: without a kubeconfig the test fails.
//! An argument that is no option selects the cases whose name contains it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]

mod cases;
mod harness;
mod server;
mod widget;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|a| !a.starts_with('-')).cloned().unwrap_or_default();
    let cases: Vec<harness::Case> = cases::all().into_iter().filter(|c| c.name.contains(&filter)).collect();
    if arguments.iter().any(|a| a == "--list") {
        for case in &cases {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    let kubeconfig = std::env::var_os("BRICKLAYER_TEST_KUBECONFIG").filter(|v| !v.is_empty());
    let obliged = std::env::var("BRICKLAYER_TEST_REAL").is_ok_and(|v| v == "1");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut failed = runtime.block_on(server::on_embedded(&cases));
    match kubeconfig {
        Some(path) => failed += runtime.block_on(server::on_real(&cases, path.as_ref())),
        None if obliged => {
            eprintln!("BRICKLAYER_TEST_REAL=1, but BRICKLAYER_TEST_KUBECONFIG names no kubeconfig");
            failed += 1;
        }
        None => println!("not run on a real API server: BRICKLAYER_TEST_KUBECONFIG is not set"),
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
