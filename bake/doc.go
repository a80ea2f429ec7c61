// SPDX-License-Identifier: Apache-2.0

// Package bake turns the files of docker buildx bake into requests: docker-bake.hcl and .json, their overrides, and compose files.
//
// Its one rule: what the files mean is what buildx says they mean. They are read, evaluated and overridden by a program of its own with buildx's
// library, which mab itself has nothing of (bake/module, package flat); the translation of a target into a request is here. Nothing is built, and
// no build is begun that reads or writes what its caller has not granted.
package bake
