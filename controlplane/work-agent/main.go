// workagent: OCM's work agent, which carries out a cluster's ManifestWorks, out of cluster.
package main

import (
	"os"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	"k8s.io/klog/v2"
	"open-cluster-management.io/ocm/pkg/cmd/spoke"
)

func main() {
	pflag.CommandLine.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	logs.InitLogs()
	defer logs.FlushLogs()
	command := spoke.NewWorkAgent()
	logs.AddFlags(command.Flags())
	if err := command.Execute(); err != nil {
		klog.ErrorS(err, "fatal")
		klog.Flush()
		os.Exit(1)
	}
}
