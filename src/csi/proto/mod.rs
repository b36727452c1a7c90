//! The messages and services of CSI 1.13 and of kubelet's plugin registration, made from the vendored
//! `.proto` files beside this one (their licences too) by `build.rs`.

/// CSI: <https://github.com/container-storage-interface/spec>, version 1.13.0.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, reason = "generated")]
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// Kubelet's plugin registration, k8s.io/kubelet v0.36. Its package has no version, only its folder.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, reason = "generated")]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
