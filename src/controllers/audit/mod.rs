//! Whether objects and nodes agree: every placed brick exists once, fits, belongs to its volume;
//! nothing that carries our marks is unowned; derived space is physical space. The judge of every
//! test, and of production.
//!
//! Looking is here, judging is in [`judge`] and pure.

pub mod judge;

use std::sync::Arc;

use futures::{StreamExt, stream};
use kube::ResourceExt;

use super::PassError;
use super::transports::{Transports, fstab};
use crate::executor::ops::{gluster, lvm, mount};
use crate::executor::{Batch, LOOK_DEADLINE, RunError, Step, Transport, run};
use crate::resources::{GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume, id_of};
use crate::store::Store;
use judge::{Judged, NodeView, Objects};

/// Reads all objects live, looks at all nodes, and says what does not agree.
pub async fn audit(store: &Store, transports: &Transports) -> Result<Judged, PassError> {
    let clusters = store.list_all::<GlusterCluster>().await?;
    let nodes = store.list_all::<GlusterNode>().await?;
    let devices = store.list_all::<GlusterDevice>().await?;
    let volumes = store.list_all::<GlusterVolume>().await?;
    let unreadable = [&clusters.unreadable, &nodes.unreadable, &devices.unreadable, &volumes.unreadable];
    let unreadable: Vec<String> = unreadable.into_iter().flatten().map(ToString::to_string).collect();
    let (clusters, nodes) = (clusters.objects, nodes.objects);
    let (devices, volumes) = (devices.objects, volumes.objects);
    let mut views: Vec<NodeView> = vec![];
    for cluster in &clusters {
        let transport = transports.of(cluster).await?;
        let members = nodes.iter().filter(|node| node.spec.cluster == cluster.name_any());
        let looks: Vec<_> =
            members.map(|node| look(transport.clone(), unseen(node), fstab(cluster))).collect();
        let mut looks = stream::iter(looks).buffered(LOOKS);
        while let Some(mut view) = looks.next().await {
            // Nodes of a pool know the same volumes: with thousands of them, each list is large.
            if let Some(same) = views.last().filter(|last| last.volumes == view.volumes) {
                view.volumes = same.volumes.clone();
            }
            views.push(view);
        }
    }
    let judge =
        move || judge::judge(&Objects { nodes: &nodes, devices: &devices, volumes: &volumes }, &views);
    // With many volumes it takes a while, and the other tasks go on meanwhile.
    let judged = tokio::task::spawn_blocking(judge).await;
    let mut judged = judged.map_err(|error| PassError::Transport(format!("the audit ended: {error}")))?;
    judged.wrong.extend(unreadable);
    Ok(judged)
}

/// How many nodes are looked at at a time.
const LOOKS: usize = 4;

fn unseen(node: &GlusterNode) -> NodeView {
    NodeView { node: id_of(node), host: node.manage_host().into(), ..NodeView::default() }
}

async fn look(transport: Arc<dyn Transport>, mut view: NodeView, fstab: String) -> NodeView {
    if let Err(error) = fill(transport.as_ref(), &fstab, &mut view).await {
        view.error = Some(error.to_string());
    }
    view
}

async fn fill(transport: &dyn Transport, fstab: &str, view: &mut NodeView) -> Result<(), RunError> {
    let host = view.host.clone();
    let mut steps = lvm::look().steps;
    steps.extend([mount::list_mounts(), mount::list_fstab(fstab)].map(Step::always));
    steps.extend(gluster::all_volumes().steps);
    let batch = Batch::new(steps, LOOK_DEADLINE);
    let outputs = run(transport, &host, &batch).await?;
    let garbled = |step: usize| {
        let (command, host) = (batch.steps[step].run.shown(), host.clone());
        move |cause| RunError::Garbled { host, command, cause }
    };
    view.groups = lvm::parse_vgs(&outputs[1]).map_err(garbled(1))?;
    view.logical = lvm::parse_lvs(&outputs[2]).map_err(garbled(2))?;
    view.mounts = mount::parse_mounts(&outputs[3]).into_iter().map(|(_, point)| point).collect();
    view.fstab = mount::parse_mounts(&outputs[4]).into_iter().map(|(_, point)| point).collect();
    view.volumes = Arc::new(gluster::parse_volumes(&outputs[5]).map_err(garbled(5))?);
    Ok(())
}
