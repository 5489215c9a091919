//! physdev.h: physical devices, of which Arm knows PCI functions.

numbers! {
    /// What `physdev_op` can do that Linux on Arm asks for.
    PhysdevOp: u32 {
        PHYSDEVOP_manage_pci_add ManagePciAdd = 15, "A function appeared.";
        PHYSDEVOP_manage_pci_remove ManagePciRemove = 16, "A function went.";
        PHYSDEVOP_restore_msi RestoreMsi = 19, "Its interrupts are to be set up again.";
        PHYSDEVOP_manage_pci_add_ext ManagePciAddExt = 20, "A virtual or extended function appeared.";
        PHYSDEVOP_pci_mmcfg_reserved PciMmcfgReserved = 24, "Where configuration space is.";
        PHYSDEVOP_pci_device_add PciDeviceAdd = 25, "A function appeared, in a segment.";
        PHYSDEVOP_pci_device_remove PciDeviceRemove = 26, "A function went.";
        PHYSDEVOP_restore_msi_ext RestoreMsiExt = 27, "Its interrupts are to be set up again.";
        PHYSDEVOP_prepare_msix PrepareMsix = 30, "Its MSI-X is about to be used.";
        PHYSDEVOP_release_msix ReleaseMsix = 31, "Its MSI-X is no longer used.";
    }
}

constants! {
    XEN_PCI_DEV_EXTFN: u32 = 1, "An extended function.";
    XEN_PCI_DEV_VIRTFN: u32 = 2, "A virtual function.";
    XEN_PCI_DEV_PXM: u32 = 4, "Its NUMA node follows.";
}

structures! {
    /// A function without a segment.
    "struct physdev_manage_pci" ManagePci 2 {
        0 bus: u8, "The bus.";
        1 devfn: u8, "Device in 7:3, function in 2:0.";
    }
    /// A function that is part of another.
    "struct physdev_manage_pci_ext" ManagePciExt 16 {
        0 bus: u8, "The bus.";
        1 devfn: u8, "Device in 7:3, function in 2:0.";
        4 is_extfn: u32, "An extended function.";
        8 is_virtfn: u32, "A virtual function.";
        12 physfn: [u8; 2], "Bus and function of the physical one.";
    }
    /// A function; an array of words may follow.
    "struct physdev_pci_device_add" PciDeviceAdd 12 {
        0 seg: u16, "The segment.";
        2 bus: u8, "The bus.";
        3 devfn: u8, "Device in 7:3, function in 2:0.";
        4 flags: u32, "`XEN_PCI_DEV_*`.";
        8 physfn: [u8; 2], "Bus and function of the physical one.";
    }
    /// A function.
    "struct physdev_pci_device" PciDevice 4 {
        0 seg: u16, "The segment.";
        2 bus: u8, "The bus.";
        3 devfn: u8, "Device in 7:3, function in 2:0.";
    }
}
