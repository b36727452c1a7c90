//! csi-sanity on real parts: volumes are made of bricks on the lab's nodes, and mounted by GlusterFS's own
//! client.

use std::time::Duration;

use crate::clients::Machine;
use crate::fixture::Lab;
use crate::rest::Served;
use crate::specs::{self, Subject};

/// Every spec that holds for simulated nodes holds for real ones, and nothing is left on them.
pub fn passes(lab: &Lab) {
    let folder = lab.file("sanity");
    std::fs::create_dir_all(&folder).unwrap();
    let controller = folder.join("controller.sock");
    let endpoint = format!("unix://{}", controller.display());
    let served = Served::start_with(lab, &["--csi-endpoint", &endpoint]);
    let before = lab.state();
    let machine = Machine::start(lab);
    specs::pass(&Subject {
        node: machine.kubelet.join("plugins/gluster.bricklayer.dev/csi.sock"),
        controller,
        // Seen by the client and by this process, as kubelet's own directories are.
        mounts: machine.kubelet.clone(),
        folder,
        sizes: [1 << 30, 2 << 30],
        limit: Duration::from_secs(20 * 60),
    });
    machine.cleared();
    assert_eq!(lab.state(), before, "something is left on the nodes");
    served.audit();
}
