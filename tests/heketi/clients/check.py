"""The official Python client against a server that has the example topology loaded and no volumes.

Arguments: URL, key of the administrator.
"""
import sys

import requests
from heketi import HeketiClient

URL, KEY = sys.argv[1:]


class Counting(HeketiClient):
    """Remembers which of its functions were called."""

    called = set()

    def __getattribute__(self, name):
        if not name.startswith("_") and callable(getattr(HeketiClient, name, None)):
            Counting.called.add(name)
        return super().__getattribute__(name)


client = Counting(URL, "admin", KEY)


def refused(status, text, call, *arguments):
    """The call raises with this status and text."""
    try:
        call(*arguments)
    except requests.exceptions.HTTPError as error:
        assert error.response.status_code == status, error.response.status_code
        assert text in error.response.text, error.response.text
    else:
        raise AssertionError(f"{call.__name__}{arguments} was not refused")


assert client.hello()
(cluster,) = client.cluster_list()["clusters"]
info = client.cluster_info(cluster)
assert info["file"] and info["block"] and len(info["nodes"]) == 5 and info["volumes"] == [], info
nodes = [client.node_info(node) for node in info["nodes"]]
devices = [device for node in nodes for device in node["devices"]]
assert len(devices) == 8, devices
for device in devices:
    seen = client.device_info(device["id"])
    assert seen["storage"]["total"] == seen["storage"]["free"] + seen["storage"]["used"], seen
    assert seen["storage"]["used"] == 0 and seen["bricks"] == [], seen

# volumes
volume = client.volume_create({"size": 5, "name": "py", "durability": {"type": "replicate", "replicate": {"replica": 3}}})
assert volume["name"] == "py" and len(volume["bricks"]) == 3, volume
assert client.volume_info(volume["id"]) == volume
other = client.volume_create({"size": 1})
assert other["name"] == "vol_" + other["id"] and other["durability"]["type"] == "none", other
assert sorted(client.volume_list()["volumes"]) == sorted([volume["id"], other["id"]])
refused(500, "already in use", client.volume_create, {"size": 1, "name": "py"})
refused(500, "No space", client.volume_create, {"size": 10**6})
refused(400, "size: cannot be blank", client.volume_create, {"size": 0})
refused(404, "Id not found", client.volume_info, "0" * 32)
grown = client.volume_expand(volume["id"], {"expand_size": 2})
assert grown["size"] == 7 and len(grown["bricks"]) == 6, grown
assert client.volume_info(volume["id"]) == grown
refused(500, "Maximum number of bricks reached", client.volume_expand, volume["id"], {"expand_size": 10**6})
refused(400, "expand_size: cannot be blank", client.volume_expand, volume["id"], {"expand_size": 0})
refused(404, "Id not found", client.volume_expand, "0" * 32, {"expand_size": 1})
for one in (volume, other):
    assert client.volume_delete(one["id"])
assert client.volume_list()["volumes"] == []

# a cluster of its own, from nothing to nothing
mine = client.cluster_create({"file": True, "block": False})
assert mine["file"] and not mine["block"], mine
assert client.cluster_setflags(mine["id"], {"file": True, "block": True})
hostnames = {"manage": ["py-node"], "storage": ["10.98.0.1"]}
node = client.node_add({"cluster": mine["id"], "zone": 2, "hostnames": hostnames, "tags": {"a": "b"}})
assert node["state"] == "online" and node["tags"] == {"a": "b"}, node
refused(409, "Hostname py-node already used by node with id " + node["id"], client.node_add,
        {"cluster": mine["id"], "zone": 1, "hostnames": hostnames})
assert client.node_set_tags(node["id"], {"change_type": "update", "tags": {"c": "d"}})
assert client.node_info(node["id"])["tags"] == {"a": "b", "c": "d"}
assert client.device_add({"name": "/dev/sdz", "node": node["id"]})
(device,) = client.node_info(node["id"])["devices"]
refused(409, "because it contains devices", client.node_delete, node["id"])
assert client.device_state(device["id"], {"state": "offline"})
assert client.device_state(device["id"], {"state": "failed"})
assert client.device_delete(device["id"])
assert client.node_state(node["id"], {"state": "offline"})
assert client.node_state(node["id"], {"state": "online"})
assert client.node_delete(node["id"])
assert client.cluster_delete(mine["id"])
assert client.cluster_list()["clusters"] == [cluster]

# giving up a device of the estate: its brick moves
three = {"type": "replicate", "replicate": {"replica": 3}}
volume = client.volume_create({"size": 2, "durability": three})
old = volume["bricks"][0]["device"]
assert client.device_set_tags(old, {"change_type": "set", "tags": {"old": "yes"}})
assert client.device_info(old)["tags"] == {"old": "yes"}
assert client.device_resync(old)
refused(500, "Device must be offline", client.device_state, old, {"state": "failed"})
assert client.device_state(old, {"state": "offline"})
assert client.device_state(old, {"state": "failed"})
moved = client.volume_info(volume["id"])
assert old not in [brick["device"] for brick in moved["bricks"]] and len(moved["bricks"]) == 3, moved
assert client.device_info(old)["bricks"] == []
assert client.device_state(old, {"state": "offline"}) and client.device_state(old, {"state": "online"}) is not None
assert client.volume_delete(volume["id"])
dump = client.db_dump().json()
assert cluster in dump["clusterentries"] and dump["volumeentries"] == {}, dump

not_served = {name for name in dir(HeketiClient) if name.startswith("block_volume_")}
functions = {name for name in dir(HeketiClient) if not name.startswith("_") and callable(getattr(HeketiClient, name))}
assert functions - not_served <= Counting.called, functions - not_served - Counting.called

# roles
user = HeketiClient(URL, "admin", "wrong")
refused(401, "signature is invalid", user.cluster_list)
print(f"python: {len(nodes)} nodes, {len(devices)} devices, volumes made, expanded and deleted")
