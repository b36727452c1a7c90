// driver is a CSI driver that makes nothing: every call is answered at once. It stands behind the real
// external-provisioner, so that what is measured is the provisioner alone.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Name is the name of the driver, and of the provisioner in a StorageClass.
const Name = "nothing.bench.bricklayer.dev"

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	mutex sync.Mutex
	sizes map[string]int64
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: Name, VendorVersion: "1"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}
	return &csi.GetPluginCapabilitiesResponse{
		Capabilities: []*csi.PluginCapability{{Type: &csi.PluginCapability_Service_{Service: service}}},
	}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	rpc := &csi.ControllerServiceCapability_RPC{Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME}
	return &csi.ControllerGetCapabilitiesResponse{
		Capabilities: []*csi.ControllerServiceCapability{{Type: &csi.ControllerServiceCapability_Rpc{Rpc: rpc}}},
	}, nil
}

func (d *driver) CreateVolume(_ context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	size := request.GetCapacityRange().GetRequiredBytes()
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if old, found := d.sizes[request.Name]; found && old != size {
		return nil, status.Error(codes.AlreadyExists, "the volume has another size")
	}
	d.sizes[request.Name] = size
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: request.Name, CapacityBytes: size}}, nil
}

func (d *driver) DeleteVolume(_ context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	delete(d.sizes, request.VolumeId)
	return &csi.DeleteVolumeResponse{}, nil
}

func main() {
	path := flag.String("socket", "", "the unix socket to listen on")
	flag.Parse()
	listener, err := net.Listen("unix", *path)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	made := &driver{sizes: map[string]int64{}}
	csi.RegisterIdentityServer(server, made)
	csi.RegisterControllerServer(server, made)
	log.Fatal(server.Serve(listener))
}
