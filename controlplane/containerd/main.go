// containerd and what asks it, in one binary, chosen by the first argument:
//
//	containerd            the daemon
//	ctr                   its own client
//	cri-images SOCKET     the images as the kubelet sees them, one JSON object a line
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	_ "github.com/containerd/containerd/cmd/containerd/builtins"
	"github.com/containerd/containerd/cmd/containerd/command"
	"github.com/containerd/containerd/cmd/ctr/app"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("usage: %s containerd|ctr|cri-images ...", os.Args[0])
	}
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "containerd":
		return command.App().Run(os.Args)
	case "ctr":
		return app.New().Run(os.Args)
	case "cri-images":
		return printImages(os.Args[1])
	}
	return fmt.Errorf("no program %q", os.Args[0])
}

func printImages(socket string) error {
	connection, err := grpc.Dial("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := cri.NewImageServiceClient(connection)
	patience, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	answer, err := client.ListImages(patience, &cri.ListImagesRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	lines := json.NewEncoder(os.Stdout)
	for _, image := range answer.Images {
		line := map[string]any{"digests": image.RepoDigests, "tags": image.RepoTags, "pinned": image.Pinned}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
