//go:build tools

// Package bench names what is built for the comparison.
package bench

import _ "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"
