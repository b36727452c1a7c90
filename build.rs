//! Makes the gRPC code of CSI and of kubelet's plugin registration from `src/csi/proto`, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["src/csi/proto/csi.proto", "src/csi/proto/pluginregistration.proto"];
    println!("cargo::rerun-if-changed=src/csi/proto");
    let descriptors = protox::compile(files, ["src/csi/proto"])?;
    tonic_prost_build::configure().build_client(false).build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
