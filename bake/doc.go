// SPDX-License-Identifier: Apache-2.0

// Package bake turns the files of docker buildx bake into requests: docker-bake.hcl and .json, their overrides, and compose files.
//
// Its one rule: what the files mean is what buildx says they mean. They are read, evaluated and overridden by buildx's own library, which
// nobody else of mab knows of; the translation of a target into a request is mab's. Nothing is built here, and no build is begun that reads
// or writes what its caller has not granted.
package bake
