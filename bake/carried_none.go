// SPDX-License-Identifier: Apache-2.0

//go:build !mab_bake

package bake

// carried is nothing: this program was built without the tag mab_bake.
func carried() parcel { return "" }
