// SPDX-License-Identifier: Apache-2.0

//go:build mab_runc

package runc

import _ "embed" // The files are made by make runc.

//go:embed carried/amd64.zst
var program string

//go:embed carried/amd64.json
var programLabel string

func carried() parcel { return parcel{program: program, label: programLabel} }
