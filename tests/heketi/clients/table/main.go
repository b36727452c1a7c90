// Every function of Heketi's Go client for the routes that are served, in an order in which each has something to do.
// Of each it is held against a table which requests it made, with which status and which kind of content each was
// answered, and against the answer what came of it. Arguments: URL, user, key of an empty server.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"

	client "github.com/heketi/heketi/client/api/go-client"
	"github.com/heketi/heketi/pkg/glusterfs/api"
)

// recorder notes each request and its answer, the looks at what is pending only once.
type recorder struct{ seen []string }

var ids = regexp.MustCompile(`[0-9a-f]{32,}`)

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || answer.Header.Get("X-Pending") == "true" {
		return answer, err
	}
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	line := fmt.Sprintf("%s %s %d %s", request.Method, ids.ReplaceAllString(request.URL.Path, "ID"), answer.StatusCode, kind)
	r.seen = append(r.seen, strings.TrimSpace(line))
	return answer, nil
}

var (
	record recorder
	heketi *client.Client
	called = map[string]bool{}
)

// call runs one function and compares the requests that it made.
func call(name string, requests []string, function func() error) {
	record.seen = nil
	if err := function(); err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	if !reflect.DeepEqual(record.seen, requests) {
		log.Fatalf("%s: asked\n  %s\nnot\n  %s", name, strings.Join(record.seen, "\n  "), strings.Join(requests, "\n  "))
	}
	called[name] = true
}

func check(good bool, format string, values ...any) error {
	if good {
		return nil
	}
	return fmt.Errorf(format, values...)
}

const (
	jsonKind = "application/json"
	html     = "text/html"
)

func made(request, result string) []string {
	return []string{request + " 202", "GET /queue/ID 303 " + html, "GET " + result + " 200 " + jsonKind}
}

func done(request string) []string { return []string{request + " 202", "GET /queue/ID 204"} }

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: table URL USER KEY")
	}
	options := client.DefaultClientOptions()
	options.PollDelay = 20
	heketi = client.NewClientWithOptions(os.Args[1], os.Args[2], os.Args[3], options)
	heketi.SetClientFunc(func(_ *tls.Config, redirect client.CheckRedirectFunc) (client.HttpPerformer, error) {
		return &http.Client{Transport: &record, CheckRedirect: redirect}, nil
	})
	server()
	cluster := clusters()
	nodes, devices := topology(cluster)
	volumes(cluster)
	removals(cluster, nodes, devices)
	everything()
}

func server() {
	call("Hello", []string{"GET /hello 200 text/plain"}, heketi.Hello)
	call("OperationsInfo", []string{"GET /operations 200 " + jsonKind}, func() error {
		info, err := heketi.OperationsInfo()
		if err != nil {
			return err
		}
		return check(*info == api.OperationsInfo{}, "%+v", info)
	})
	call("PendingOperationList", []string{"GET /operations/pending 200 " + jsonKind}, func() error {
		list, err := heketi.PendingOperationList()
		if err != nil {
			return err
		}
		return check(list.PendingOperations != nil && len(list.PendingOperations) == 0, "%+v", list)
	})
	call("PendingOperationDetails", []string{"GET /operations/pending/ID 404 text/plain"}, func() error {
		id := strings.Repeat("0", 32)
		_, err := heketi.PendingOperationDetails(id)
		return check(err != nil && err.Error() == "Id not found: "+id, "%v", err)
	})
	call("PendingOperationCleanUp", done("POST /operations/pending/cleanup"), func() error {
		return heketi.PendingOperationCleanUp(&api.PendingOperationsCleanRequest{})
	})
	for _, state := range []string{"local-client", "normal"} {
		call("AdminStatusSet", []string{"POST /admin 204"}, func() error {
			return heketi.AdminStatusSet(&api.AdminStatus{State: api.AdminState(state)})
		})
		call("AdminStatusGet", []string{"GET /admin 200 " + jsonKind}, func() error {
			status, err := heketi.AdminStatusGet()
			if err != nil {
				return err
			}
			return check(string(status.State) == state, "%+v", status)
		})
	}
	call("LogLevelSet", []string{"POST /internal/logging 200 " + jsonKind}, func() error {
		return heketi.LogLevelSet(&api.LogLevelInfo{LogLevel: map[string]string{"glusterfs": "error"}})
	})
	call("LogLevelGet", []string{"GET /internal/logging 200 " + jsonKind}, func() error {
		info, err := heketi.LogLevelGet()
		if err != nil {
			return err
		}
		return check(info.LogLevel["glusterfs"] == "error", "%+v", info)
	})
}

func clusters() string {
	var cluster *api.ClusterInfoResponse
	call("ClusterCreate", []string{"POST /clusters 201 " + jsonKind}, func() (err error) {
		request := &api.ClusterCreateRequest{ClusterFlags: api.ClusterFlags{File: true}}
		cluster, err = heketi.ClusterCreate(request)
		return err
	})
	call("ClusterInfo", []string{"GET /clusters/ID 200 " + jsonKind}, func() error {
		info, err := heketi.ClusterInfo(cluster.Id)
		if err != nil {
			return err
		}
		return check(reflect.DeepEqual(info, cluster), "%+v is not %+v", info, cluster)
	})
	call("ClusterSetFlags", []string{"POST /clusters/ID/flags 200 " + jsonKind}, func() error {
		flags := api.ClusterFlags{File: true, Block: true}
		return heketi.ClusterSetFlags(cluster.Id, &api.ClusterSetFlagsRequest{ClusterFlags: flags})
	})
	call("ClusterList", []string{"GET /clusters 200 " + jsonKind}, func() error {
		list, err := heketi.ClusterList()
		if err != nil {
			return err
		}
		return check(reflect.DeepEqual(list.Clusters, []string{cluster.Id}), "%+v", list)
	})
	return cluster.Id
}

func topology(cluster string) (nodes, devices []string) {
	for n := 1; n <= 4; n++ {
		request := &api.NodeAddRequest{Zone: n, ClusterId: cluster}
		request.Hostnames.Manage = []string{fmt.Sprintf("table%d", n)}
		request.Hostnames.Storage = []string{fmt.Sprintf("10.30.0.%d", n)}
		call("NodeAdd", made("POST /nodes", "/nodes/ID"), func() error {
			node, err := heketi.NodeAdd(request)
			if err != nil {
				return err
			}
			nodes = append(nodes, node.Id)
			return check(node.Zone == n && node.State == api.EntryStateOnline && node.DevicesInfo != nil, "%+v", node)
		})
		device := &api.DeviceAddRequest{NodeId: nodes[n-1]}
		device.Name = "/dev/sdb"
		call("DeviceAdd", done("POST /devices"), func() error { return heketi.DeviceAdd(device) })
		call("NodeInfo", []string{"GET /nodes/ID 200 " + jsonKind}, func() error {
			node, err := heketi.NodeInfo(nodes[n-1])
			if err != nil {
				return err
			}
			devices = append(devices, node.DevicesInfo[0].Id)
			return check(len(node.DevicesInfo) == 1, "%+v", node)
		})
	}
	tags := &api.TagsChangeRequest{Change: api.SetTags, Tags: map[string]string{"rack": "7"}}
	call("NodeSetTags", []string{"POST /nodes/ID/tags 200 " + jsonKind}, func() error { return heketi.NodeSetTags(nodes[0], tags) })
	call("DeviceSetTags", []string{"POST /devices/ID/tags 200 " + jsonKind}, func() error { return heketi.DeviceSetTags(devices[0], tags) })
	call("DeviceInfo", []string{"GET /devices/ID 200 " + jsonKind}, func() error {
		device, err := heketi.DeviceInfo(devices[0])
		if err != nil {
			return err
		}
		storage := device.Storage
		return check(device.Tags["rack"] == "7" && device.Bricks != nil && storage.Total == storage.Free+storage.Used, "%+v", device)
	})
	call("DeviceResync", []string{"GET /devices/ID/resync 202 " + html, "GET /queue/ID 204"}, func() error {
		return heketi.DeviceResync(devices[0])
	})
	return nodes, devices
}

func volumes(cluster string) {
	request := &api.VolumeCreateRequest{Size: 3, Name: "table", Clusters: []string{cluster}, Gid: 2001}
	request.Durability.Type = api.DurabilityReplicate
	request.Durability.Replicate.Replica = 3
	request.GlusterVolumeOptions = []string{"performance.cache-size 256MB"}
	var volume *api.VolumeInfoResponse
	call("VolumeCreate", made("POST /volumes", "/volumes/ID"), func() (err error) {
		volume, err = heketi.VolumeCreate(request)
		if err != nil {
			return err
		}
		return check(volume.Name == "table" && volume.Size == 3 && volume.Gid == 2001 && len(volume.Bricks) == 3, "%+v", volume)
	})
	call("VolumeInfo", []string{"GET /volumes/ID 200 " + jsonKind}, func() error {
		info, err := heketi.VolumeInfo(volume.Id)
		if err != nil {
			return err
		}
		return check(reflect.DeepEqual(info, volume), "%+v is not %+v", info, volume)
	})
	call("VolumeExpand", made("POST /volumes/ID/expand", "/volumes/ID"), func() error {
		grown, err := heketi.VolumeExpand(volume.Id, &api.VolumeExpandRequest{Size: 2})
		if err != nil {
			return err
		}
		return check(grown.Size == 5 && len(grown.Bricks) == 6, "%+v", grown)
	})
	call("VolumeList", []string{"GET /volumes 200 " + jsonKind}, func() error {
		list, err := heketi.VolumeList()
		if err != nil {
			return err
		}
		return check(reflect.DeepEqual(list.Volumes, []string{volume.Id}), "%+v", list)
	})
	var host *api.VolumeInfoResponse
	call("VolumeCreate", made("POST /volumes", "/volumes/ID"), func() (err error) {
		host, err = heketi.VolumeCreate(&api.VolumeCreateRequest{Size: 100, Block: true})
		return err
	})
	call("VolumeSetBlockRestriction", made("POST /volumes/ID/block-restriction", "/volumes/ID"), func() error {
		locked, err := heketi.VolumeSetBlockRestriction(host.Id, &api.VolumeBlockRestrictionRequest{Restriction: "locked"})
		if err != nil {
			return err
		}
		block := locked.BlockInfo
		return check(block.FreeSize == 98 && block.ReservedSize == 2 && block.Restriction == "locked", "%+v", block)
	})
	call("VolumeDelete", done("DELETE /volumes/ID"), func() error { return heketi.VolumeDelete(host.Id) })
}

func removals(cluster string, nodes, devices []string) {
	state := func(state api.EntryState) *api.StateRequest { return &api.StateRequest{State: state} }
	call("DeviceState", done("POST /devices/ID/state"), func() error { return heketi.DeviceState(devices[0], state("offline")) })
	call("DeviceState", done("POST /devices/ID/state"), func() error { return heketi.DeviceState(devices[0], state("failed")) })
	call("DeviceDelete", done("DELETE /devices/ID"), func() error { return heketi.DeviceDelete(devices[0]) })
	call("NodeState", done("POST /nodes/ID/state"), func() error { return heketi.NodeState(nodes[0], state("offline")) })
	call("NodeDelete", done("DELETE /nodes/ID"), func() error { return heketi.NodeDelete(nodes[0]) })
	// Three nodes are left, and each has bricks.
	call("NodeState", done("POST /nodes/ID/state"), func() error { return heketi.NodeState(nodes[1], state("offline")) })
	call("NodeState", []string{"POST /nodes/ID/state 202", "GET /queue/ID 500 text/plain"}, func() error {
		err := heketi.NodeState(nodes[1], state("failed"))
		text := "Unable to remove node [" + nodes[1] + "] as no device was found to replace device [" + devices[1] + "]"
		return check(err != nil && strings.HasPrefix(err.Error(), text), "%v", err)
	})
	call("ClusterDelete", []string{"DELETE /clusters/ID 409 text/plain"}, func() error {
		err := heketi.ClusterDelete(cluster)
		return check(err != nil && strings.Contains(err.Error(), "contains volumes and/or nodes"), "%v", err)
	})
}

// everything reads all there is, and removes it.
func everything() {
	var topology *api.TopologyInfoResponse
	requests := []string{"GET /clusters 200 " + jsonKind, "GET /clusters/ID 200 " + jsonKind, "GET /volumes/ID 200 " + jsonKind}
	for n := 0; n < 3; n++ {
		requests = append(requests, "GET /nodes/ID 200 "+jsonKind)
	}
	call("TopologyInfo", requests, func() (err error) {
		topology, err = heketi.TopologyInfo()
		return err
	})
	for _, dump := range []struct {
		name, path string
		get        func() (string, error)
	}{
		{"DbDump", "/db/dump", heketi.DbDump}, {"DbCheck", "/db/check", heketi.DbCheck},
		{"StateExamineGluster", "/internal/state/examine/gluster", heketi.StateExamineGluster},
	} {
		call(dump.name, []string{"GET " + dump.path + " 200 " + jsonKind}, func() error {
			text, err := dump.get()
			if err != nil {
				return err
			}
			return check(json.Valid([]byte(text)), "%s", text)
		})
	}
	call("BackupDb", []string{"GET /backup/db 200 application/octet-stream"}, func() error {
		var kept bytes.Buffer
		if err := heketi.BackupDb(&kept); err != nil {
			return err
		}
		return check(kept.Len() > 100, "%d bytes", kept.Len())
	})
	cluster := topology.ClusterList[0]
	call("VolumeDelete", done("DELETE /volumes/ID"), func() error { return heketi.VolumeDelete(cluster.Volumes[0].Id) })
	for _, node := range cluster.Nodes {
		for _, device := range node.DevicesInfo {
			for _, state := range []api.EntryState{"offline", "failed"} {
				call("DeviceState", done("POST /devices/ID/state"), func() error {
					return heketi.DeviceState(device.Id, &api.StateRequest{State: state, HealCheck: api.HealCheckDisable})
				})
			}
			call("DeviceDeleteWithOptions", done("DELETE /devices/ID"), func() error {
				return heketi.DeviceDeleteWithOptions(device.Id, &api.DeviceDeleteOptions{ForceForget: true})
			})
		}
		call("NodeDelete", done("DELETE /nodes/ID"), func() error { return heketi.NodeDelete(node.Id) })
	}
	call("ClusterDelete", []string{"DELETE /clusters/ID 200"}, func() error { return heketi.ClusterDelete(cluster.Id) })
	notServed := map[string]bool{
		"BlockVolumeCreate": true, "BlockVolumeDelete": true, "BlockVolumeExpand": true, "BlockVolumeInfo": true,
		"BlockVolumeList": true, "BrickEvict": true, "VolumeClone": true,
	}
	methods := reflect.TypeOf(heketi)
	for n := 0; n < methods.NumMethod(); n++ {
		name := methods.Method(n).Name
		if !called[name] && !notServed[name] && !strings.HasPrefix(name, "Set") {
			log.Fatalf("%s was not called", name)
		}
	}
	fmt.Printf("go: %d functions of the client, %d not served yet\n", len(called), len(notServed))
}
