//! Chains of clusters in the allocation table.

use crate::volume::{Result, corrupt, read_exact};

use super::super::Width;
use super::super::layout::FIRST_CLUSTER;
use super::Inner;

/// How much of the table is read at once: a multiple of FAT12's three bytes and of everyone's four.
const WINDOW_BYTES: u64 = 12 << 10;
/// The largest folder, in bytes: 65,536 entries.
pub(super) const DIRECTORY_BYTES_MAX: u64 = 2 << 20;

/// Clusters that follow each other in the file and in the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// Where it begins in the file, in clusters.
    pub index: u64,
    pub first: u32,
    pub count: u64,
}

/// Returns the first `clusters` clusters of a chain.
///
/// # Errors
/// The chain is shorter, leads outside, or goes round in circles.
pub(super) fn runs(inner: &Inner, first: u32, clusters: u64) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut chain = Chain::new(inner, first);
    for index in 0..clusters {
        let Some(cluster) = chain.next()? else {
            return corrupt(format!("cluster {first}"), format!("begins {index} clusters where {clusters} are needed"));
        };
        match runs.last_mut() {
            Some(run) if u64::from(run.first) + run.count == u64::from(cluster) => run.count += 1,
            _ => runs.push(Run { index, first: cluster, count: 1 }),
        }
    }
    Ok(runs)
}

/// Returns all of the chain of a folder.
pub(super) fn folder(inner: &Inner, first: u32) -> Result<Vec<u32>> {
    let mut chain = Chain::new(inner, first);
    let mut clusters = Vec::new();
    while let Some(cluster) = chain.next()? {
        if clusters.len() as u64 * inner.boot.cluster_bytes >= DIRECTORY_BYTES_MAX {
            return corrupt(format!("cluster {first}"), "begins a folder of more than 2 MiB");
        }
        clusters.push(cluster);
    }
    Ok(clusters)
}

/// Returns the number of clusters of a folder.
pub(super) fn length(inner: &Inner, first: u32) -> Result<u64> {
    Ok(folder(inner, first)?.len() as u64)
}

/// A chain being followed.
struct Chain<'a> {
    inner: &'a Inner,
    first: u32,
    next: u32,
    window: Vec<u8>,
    window_at: u64,
    /// Brent's way to notice a circle: a cluster passed some time ago, the steps since, and when to take a later one.
    passed: u32,
    steps: u64,
    until: u64,
}

impl<'a> Chain<'a> {
    fn new(inner: &'a Inner, first: u32) -> Self {
        Chain { inner, first, next: first, window: Vec::new(), window_at: 0, passed: 0, steps: 0, until: 1 }
    }

    /// Returns the next cluster; nothing behind the last.
    fn next(&mut self) -> Result<Option<u32>> {
        let (cluster, boot) = (self.next, &self.inner.boot);
        let place = || format!("cluster {}", self.first);
        let end = match boot.width {
            Width::Fat12 => 0xff8,
            Width::Fat16 => 0xfff8,
            Width::Fat32 => 0x0fff_fff8,
        };
        if cluster >= end {
            return Ok(None);
        }
        if cluster < FIRST_CLUSTER || u64::from(cluster - FIRST_CLUSTER) >= boot.clusters {
            return corrupt(place(), format!("leads to cluster {cluster}, which is not one of the {}", boot.clusters));
        }
        if cluster == self.passed {
            return corrupt(place(), "begins a chain that goes round in circles");
        }
        self.steps += 1;
        if self.steps == self.until {
            (self.passed, self.steps, self.until) = (cluster, 0, self.until * 2);
        }
        self.next = self.entry(cluster)?;
        Ok(Some(cluster))
    }

    /// Reads a cluster's entry.
    fn entry(&mut self, cluster: u32) -> Result<u32> {
        let boot = &self.inner.boot;
        let at = u64::from(cluster) * u64::from(boot.width.bits()) / 8;
        let length = if boot.width == Width::Fat32 { 4 } else { 2 };
        if at < self.window_at || at + length > self.window_at + self.window.len() as u64 {
            // FAT12's entries can lie across the end of one window: each begins at a multiple of three bytes.
            self.window_at = at / WINDOW_BYTES * WINDOW_BYTES;
            let start = boot.table + self.window_at;
            let rest = self.inner.device.size_bytes().saturating_sub(start);
            self.window.resize(rest.min(WINDOW_BYTES) as usize, 0);
            let place = || format!("the table's entry of cluster {cluster}");
            read_exact(&*self.inner.device, start, &mut self.window, place)?;
            if at + length > self.window_at + self.window.len() as u64 {
                return corrupt(place(), "lies behind the end of the image");
            }
        }
        let bytes = &self.window[(at - self.window_at) as usize..];
        Ok(match boot.width {
            Width::Fat32 => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x0fff_ffff,
            Width::Fat16 => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])),
            Width::Fat12 => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) >> (cluster % 2 * 4) & 0xfff,
        })
    }
}
