//! Machines to boot an image on: QEMU's and Arm's command lines, and the serial console.
