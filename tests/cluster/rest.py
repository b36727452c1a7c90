"""The official Python client through TLS against a cluster with three nodes and a disk each.

Arguments: URL, key of the administrator, file of the authority.
"""
import sys

import requests
from heketi import HeketiClient

URL, KEY, AUTHORITY = sys.argv[1:]


def refused(client):
    try:
        client.cluster_list()
    except requests.exceptions.HTTPError as error:
        assert error.response.status_code == 401, error.response.status_code
    else:
        raise AssertionError("a stranger was served")


refused(HeketiClient(URL, "admin", KEY + "x", verify=AUTHORITY))
try:
    HeketiClient(URL, "admin", KEY).hello()
except requests.exceptions.SSLError:
    pass
else:
    raise AssertionError("the certificate is trusted by everybody")

client = HeketiClient(URL, "admin", KEY, verify=AUTHORITY)
assert client.hello()
(cluster,) = client.cluster_list()["clusters"]
nodes = client.cluster_info(cluster)["nodes"]
assert len(nodes) == 3, nodes
assert all(len(client.node_info(node)["devices"]) == 1 for node in nodes)
ask = {"size": 1, "name": "python", "durability": {"type": "replicate", "replicate": {"replica": 3}}}
# Each request may be answered by another replica.
for _ in range(2):
    volume = client.volume_create(ask)
    assert volume["name"] == "python" and len(volume["bricks"]) == 3, volume
    assert client.volume_info(volume["id"]) == volume
    assert volume["id"] in client.volume_list()["volumes"]
    assert client.volume_delete(volume["id"])
    assert client.volume_list()["volumes"] == []
print("ok")
