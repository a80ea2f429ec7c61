// SPDX-License-Identifier: Apache-2.0

//go:build mab_bake

package bake

import _ "embed" // The files are made by make readers.

//go:embed carried/linux-riscv64.zst
var program string

func carried() parcel { return parcel(program) }
