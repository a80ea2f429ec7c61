// SPDX-License-Identifier: Apache-2.0

// Inside is what tests run in a RUN step to see what busybox cannot show.
package main

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh/agent"
)

func main() {
	if len(os.Args) != 2 {
		panic("want one argument: ids or keys")
	}
	switch os.Args[1] {
	case "ids":
		fmt.Printf("uid=%d euid=%d\n", os.Getuid(), os.Geteuid())
	case "keys":
		conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
		if err != nil {
			panic(err)
		}
		keys, err := agent.NewClient(conn).List()
		if err != nil {
			panic(err)
		}
		for _, key := range keys {
			fmt.Println(key.Format, key.Comment)
		}
	}
}
