// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/bake"
	"github.com/mab-build/mab/coordinator"
)

// TestPermissions has two targets: what one wants is not forgotten for what the other does not.
func TestPermissions(t *testing.T) {
	for _, test := range []struct{ rule, target, allow, wants string }{
		{"what is in the current directory", "context = \"sub\"\noutput = [\"out\"]\ncache-to = [\"type=local,dest=cache\"]\nsecret = [\"id=a,src=sub/secret\"]", "", ""},
		{"what is fetched", `contexts = { a = "docker-image://alpine", b = "https://example.com/a.git" }`, "", ""},
		{"a context", `context = "../outside"`, "", "fs.read=../outside"},
		{"a context is granted", `context = "../outside"`, "fs.read=../outside", ""},
		{"a directory above is granted", `context = "../outside"`, "fs.read=..", ""},
		{"everything is granted", `context = "../outside"`, "fs.read=*", ""},
		{"another one is granted", `context = "../outside"`, "fs.read=../outsider", "fs.read=../outside"},
		{"writing is no reading", `context = "../outside"`, "fs.write=../outside", "fs.read=../outside"},
		{"a further context", `contexts = { a = "../outside" }`, "", "fs.read=../outside"},
		{"a layout", `contexts = { a = "oci-layout://../outside/layout:1" }`, "", "fs.read=../outside/layout"},
		{"a Dockerfile", `dockerfile = "../outside/Dockerfile"`, "", "fs.read=../outside/Dockerfile"},
		{"a link that leads outside", `context = "link"`, "", "fs.read=../outside"},
		{"a Dockerfile that is such a link", `context = "linked"`, "", "fs.read=../outside/Dockerfile"},
		{"a secret", `secret = ["id=a,src=../outside/secret"]`, "", "fs.read=../outside/secret"},
		{"a secret of the environment", `secret = ["id=a,env=HOME"]`, "", ""},
		{"a cache that is read", `cache-from = ["type=local,src=../outside"]`, "", "fs.read=../outside"},
		{"a cache that is written", `cache-to = ["type=local,dest=../outside"]`, "", "fs.write=../outside"},
		{"an output", `output = ["type=oci,dest=../outside/a.tar"]`, "", "fs.write=../outside"},
		{"both", "context = \"../outside\"\noutput = [\"../outside\"]", "", "fs=../outside"},
		{"both are granted", "context = \"../outside\"\noutput = [\"../outside\"]", "fs=../outside", ""},
		{"network of the machine", `network = "host"`, "", "network.host"},
		{"network of the machine is granted", `network = "host"`, "network.host", ""},
		{"privileges", `entitlements = ["security.insecure"]`, "", "security.insecure"},
		{"privileges are granted", `entitlements = ["security.insecure"]`, "security.insecure", ""},
		{"devices", `entitlements = ["device=a"]`, "", "device=a"},
		{"another device is granted", `entitlements = ["device=a"]`, "device=b", "device=a"},
		{"the device is granted", `entitlements = ["device=a"]`, "device=a", ""},
		{"all devices are granted", `entitlements = ["device=a"]`, "device", ""},
		{"removing files", `output = ["type=local,dest=out,mode=delete"]`, "", "buildx.local.delete"},
		{"removing files is granted", `output = ["type=local,dest=out,mode=delete"]`, "buildx.local.delete", ""},
		{"an agent", `ssh = ["default"]`, "", "ssh"},
		{"an agent for a context that is fetched by ssh", `context = "git@example.com:a.git"`, "", "ssh"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := scene(t, "group \"default\" { targets = [\"a\", \"b\"] }\ntarget \"a\" {}\ntarget \"b\" {\n"+test.target+"\n}\n")
			t.Chdir(dir)
			_, _, err := requests(t, bake.Query{Allow: strings.Fields(test.allow)}, coordinator.Request{})
			if test.wants == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantFault(t, err, "it wants what was not granted: "+test.wants, "--allow="+test.wants)
			if !strings.HasSuffix(err.Error(), ": "+test.wants) {
				t.Errorf("it wants more: %q", err)
			}
		})
	}
}

// scene has a directory with a definition, and one beside it that is outside.
func scene(t *testing.T, definition string) string {
	t.Helper()
	files(t, map[string]string{
		"in/docker-bake.hcl": definition, "in/Dockerfile": "", "in/sub/Dockerfile": "", "in/sub/secret": "", "in/linked/x": "",
		"outside/Dockerfile": "", "outside/secret": "", "outside/layout/index.json": emptyIndex, "outside/layout/blobs/x": "",
	})
	for name, to := range map[string]string{"in/link": "../outside", "in/linked/Dockerfile": "../../outside/Dockerfile"} {
		link(t, to, name)
	}
	dir, err := filepath.Abs("in")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

const emptyIndex = `{"schemaVersion": 2, "manifests": []}`

func TestPermissionsOfTheCommandLine(t *testing.T) {
	for _, test := range []struct {
		rule  string
		query bake.Query
	}{
		{"an output", bake.Query{Sets: []string{"*.output=../outside"}}},
		{"a secret", bake.Query{Sets: []string{"*.secrets=id=a,src=../outside/secret"}}},
		{"a cache", bake.Query{Sets: []string{"*.cache-to=type=local,dest=../outside"}}},
		{"a privilege", bake.Query{Sets: []string{"*.entitlements=security.insecure"}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Chdir(scene(t, "target \"default\" {}"))
			must(t, test.query)
		})
	}
}

func TestChecksOfPathsAreSwitchedOff(t *testing.T) {
	t.Chdir(scene(t, "target \"default\" {\n  context = \"../outside\"\n  network = \"host\"\n}\n"))
	t.Setenv("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
	must(t, bake.Query{Allow: []string{"network.host"}})
	_, _, err := requests(t, bake.Query{}, coordinator.Request{})
	wantFault(t, err, "not granted: network.host", "add: --allow=network.host")
	t.Setenv("BUILDX_BAKE_ENTITLEMENTS_FS", "nonsense")
	_, _, err = requests(t, bake.Query{Allow: []string{"network.host"}}, coordinator.Request{})
	wantFault(t, err, "understanding BUILDX_BAKE_ENTITLEMENTS_FS", "write 0")
}

func TestPathsForShells(t *testing.T) {
	t.Chdir(scene(t, "target \"default\" {\n  output = [\"../out side\"]\n}\n"))
	files := "../out side/x"
	write(t, files)
	_, _, err := requests(t, bake.Query{}, coordinator.Request{})
	wantFault(t, err, "fs.write=../out side", "--allow='fs.write=../out side'")
}
