// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
)

const (
	// settingsVariable names the file of settings; empty, there is none.
	settingsVariable = "MAB_CONFIG"
	// verifyVariable is --verify where nobody gives the flag.
	verifyVariable = "MAB_VERIFY"
)

// settings are what config.toml says.
type settings struct {
	Verify struct {
		// Mode is empty if the file does not say.
		Mode   string   `toml:"mode"`
		Exempt []string `toml:"exempt"`
	} `toml:"verify"`
}

// settingsFile is config.toml beside the list of nodes, unless the variable names another; empty: none.
func settingsFile() string {
	if path, ok := os.LookupEnv(settingsVariable); ok {
		return path
	}
	list := nodes.DefaultListFile()
	if list == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(list), "config.toml")
}

// readSettings reads a file. That at the usual place need not exist.
func readSettings(path string) (settings, error) {
	var out settings
	if path == "" {
		return out, nil
	}
	text, err := os.ReadFile(path)
	if _, named := os.LookupEnv(settingsVariable); errors.Is(err, fs.ErrNotExist) && !named {
		return out, nil
	}
	if err != nil {
		return out, usage{fmt.Errorf("reading the settings: %w", err), "name a file that you can read by " + settingsVariable + ", or none: " + settingsVariable + "="}
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&out); err != nil {
		return out, usage{explainSettings(path, err), "the settings are [verify] with mode and exempt: docs/verify.md"}
	}
	if err := new(coordinator.Verification).Set(out.Verify.Mode); err != nil && out.Verify.Mode != "" {
		return out, usage{fmt.Errorf("%s: verify.mode: %w", path, err), "choose strict, warn or off"}
	}
	return out, nil
}

// explainSettings names the line and the key.
func explainSettings(path string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var out []error
		for i := range strict.Errors {
			line, _ := strict.Errors[i].Position()
			out = append(out, fmt.Errorf("%s:%d: there is no key %q", path, line, strings.Join(strict.Errors[i].Key(), ".")))
		}
		return errors.Join(out...)
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, _ := at.Position()
		if len(at.Key()) > 0 {
			return fmt.Errorf("%s:%d: %s cannot be that", path, line, strings.Join(at.Key(), "."))
		}
		return fmt.Errorf("%s:%d: %s", path, line, strings.TrimPrefix(err.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", path, err)
}

// checkFlags binds the flags of a command that checks what it has built. What nobody gives, applySettings takes from elsewhere.
func checkFlags(flags *pflag.FlagSet, r *coordinator.Request) {
	flags.Var(&r.Verify, "verify", "`strict|warn|off`: whether programs of other platforms in an image are an error, are told, or are not looked for (env "+verifyVariable+")")
	flags.StringArrayVar(&r.VerifyExempt, "verify-exempt", nil, "`GLOB` of paths that may hold programs of any platform, as in .dockerignore (repeatable)")
	flags.BoolVar(&r.CheckAssist, "check-assist", false, "run each assisted step without assistance too, and fail if it makes other files")
}

// applySettings fills in what flags leave open: from the environment, then from the settings. Globs of flags and settings both count.
func applySettings(flags *pflag.FlagSet, r *coordinator.Request) error {
	found, err := readSettings(settingsFile())
	if err != nil {
		return err
	}
	r.VerifyExempt = append(r.VerifyExempt, found.Verify.Exempt...)
	if flags.Changed("verify") {
		return nil
	}
	if word := os.Getenv(verifyVariable); word != "" {
		if err := r.Verify.Set(word); err != nil {
			return usage{fmt.Errorf("reading %s=%q: %w", verifyVariable, word, err), "choose strict, warn or off"}
		}
		return nil
	}
	if found.Verify.Mode != "" {
		return r.Verify.Set(found.Verify.Mode)
	}
	return nil
}
