// The program of Heketi's introduction: makes a client, lists the clusters, takes a node into the
// first of them, and prints all nodes. Arguments: URL, user, key.
package main

import (
	"fmt"
	"log"
	"os"

	client "github.com/heketi/heketi/client/api/go-client"
	"github.com/heketi/heketi/pkg/glusterfs/api"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: intro URL USER KEY")
	}
	heketi := client.NewClient(os.Args[1], os.Args[2], os.Args[3])

	list, err := heketi.ClusterList()
	if err != nil {
		log.Fatalf("cannot list the clusters: %v", err)
	}
	if len(list.Clusters) == 0 {
		log.Fatal("there is no cluster: load a topology first")
	}

	request := &api.NodeAddRequest{Zone: 1, ClusterId: list.Clusters[0]}
	request.Hostnames.Manage = []string{"intro.example.com"}
	request.Hostnames.Storage = []string{"10.99.0.1"}
	added, err := heketi.NodeAdd(request)
	if err != nil {
		log.Fatalf("cannot add a node: %v", err)
	}
	fmt.Printf("added node %s\n", added.Id)

	cluster, err := heketi.ClusterInfo(list.Clusters[0])
	if err != nil {
		log.Fatalf("cannot read cluster %s: %v", list.Clusters[0], err)
	}
	for _, id := range cluster.Nodes {
		node, err := heketi.NodeInfo(id)
		if err != nil {
			log.Fatalf("cannot read node %s: %v", id, err)
		}
		fmt.Printf("node %s zone %d manage %s storage %s devices %d\n",
			node.Id, node.Zone, node.Hostnames.Manage[0], node.Hostnames.Storage[0], len(node.DevicesInfo))
	}
}
