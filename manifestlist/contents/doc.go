// SPDX-License-Identifier: Apache-2.0

// Package contents checks what is in images: that every blob is what its descriptor promises, that config and index agree,
// and that every program of the final file system is one that the image's platform runs.
//
// Its one rule: what is checked is what a container would see, no more and no less. Layers are applied as the OCI image
// specification says, so a file that a later layer removes or replaces does not count, and layers are read as streams: neither a
// layer nor a file is ever held in memory. Checker.Check reads; everything behind it is pure.
package contents
