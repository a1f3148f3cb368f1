//! Files as they are left, whatever happens to them.

use super::body::AHEAD;
use super::*;

#[test]
fn a_device_without_room_takes_nothing_and_the_rest_is_counted() {
    let mut spool = Spool::create(Path::new("/dev/full")).unwrap();
    assert_eq!(spool.write(b"one").unwrap() + spool.write(b"two").unwrap(), 6);
    assert_eq!(spool.flush().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    assert_eq!((spool.lost(), spool.size()), (2, 0));
}

#[test]
fn small_records_wait_a_moment_and_not_longer() {
    let path = std::env::temp_dir().join(format!("skep-spool-moment-{}", std::process::id()));
    let mut spool = Spool::create(&path).unwrap();
    spool.write_all(b"record").unwrap();
    spool.settle().unwrap();
    let soon = spool.last + LATEST;
    // A slow machine may have taken longer already.
    let early = if proc::monotonic() < soon { std::fs::metadata(&path).unwrap().len() } else { 0 };
    while proc::monotonic() < soon {
        std::thread::sleep(Duration::from_millis(5));
    }
    spool.settle().unwrap();
    let written = std::fs::read(&path).unwrap();
    drop(spool);
    std::fs::remove_file(&path).unwrap();
    assert_eq!((early, written.as_slice()), (0, &b"record"[..]));
}

#[test]
fn room_that_was_asked_for_goes_back() {
    use std::os::unix::fs::MetadataExt;
    let path = std::env::temp_dir().join(format!("skep-spool-room-{}", std::process::id()));
    let mut spool = Spool::create(&path).unwrap().reserve();
    if spool.body().reserved.is_none() {
        std::fs::remove_file(&path).unwrap();
        eprintln!("skipped: the temporary folder is not on ext4");
        return;
    }
    let on_disk = || std::fs::metadata(&path).map(|data| (data.len(), data.blocks() * 512)).unwrap();
    let record = vec![7; 100_000];
    for _ in 0..30 {
        spool.write_all(&record).unwrap();
    }
    spool.flush().unwrap();
    let (size, room) = on_disk();
    assert_eq!(size, 3_000_000);
    assert!(room >= AHEAD, "{room}");
    drop(spool);
    let (size, room) = on_disk();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(size, 3_000_000);
    assert!(room < 4_000_000, "{room}");
}

#[test]
fn a_file_ends_with_a_whole_record_when_its_limit_is_reached() {
    // A file system of its own with 64 KiB: what fits of ten records of 10,000 bytes are six.
    let folder = std::env::temp_dir().join(format!("skep-spool-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mounted =
        rustix::mount::mount("none", &folder, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=64k"));
    if mounted.is_err() {
        let _ = std::fs::remove_dir(&folder);
        eprintln!("skipped: mounting needs root");
        return;
    }
    let path = folder.join("file");
    let mut spool = Spool::create(&path).unwrap();
    for record in 0..10u8 {
        spool.write_all(&[record; 10_000]).unwrap();
    }
    let full = spool.flush();
    let (size, lost) = (std::fs::metadata(&path).unwrap().len(), spool.lost());
    drop(spool);
    rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    assert!(full.is_err());
    assert_eq!((size, lost), (60_000, 4));
}

/// Records of all lengths up to 300 bytes, which say their number, as the file should have them.
fn numbered(records: u32) -> Vec<u8> {
    (0..records).flat_map(record).collect()
}

fn record(number: u32) -> Vec<u8> {
    let mut record = number.to_ne_bytes().repeat(75);
    record.truncate(4 + number as usize % 297);
    record
}

/// Puts a record into its place, as who knows its length does.
fn put(spool: &mut Spool, record: &[u8]) -> io::Result<()> {
    spool.room(record.len())?.unwrap().copy_from_slice(record);
    Ok(())
}

#[test]
fn what_goes_past_the_page_cache_is_in_its_place() {
    const RECORDS: u32 = 120_000;
    let path = std::env::temp_dir().join(format!("skep-spool-direct-{}", std::process::id()));
    let mut spool = Spool::create(&path).unwrap().reserve();
    for number in 0..RECORDS {
        put(&mut spool, &record(number)).unwrap();
        // Something is written the usual way now and then, in the middle of a page.
        if number % 50_001 == 50_000 {
            spool.flush().unwrap();
        }
    }
    let (direct, behind) = (spool.direct, spool.behind.is_some());
    let size = spool.size();
    drop(spool);
    let written = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let wanted = numbered(RECORDS);
    assert_eq!((written.len(), size), (wanted.len(), wanted.len() as u64));
    assert!(written == wanted);
    // Elsewhere than on ext4 all is written the usual way.
    assert_eq!(direct, behind);
}

#[test]
fn a_record_longer_than_a_buffer_is_written_alone() {
    let path = std::env::temp_dir().join(format!("skep-spool-long-{}", std::process::id()));
    let mut spool = Spool::create(&path).unwrap();
    let long = vec![9; MOST + 5];
    for part in [&b"before"[..], &long, b"behind"] {
        spool.write_all(part).unwrap();
    }
    spool.flush().unwrap();
    assert_eq!(spool.size(), long.len() as u64 + 12);
    drop(spool);
    let written = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(written, [b"before", &long[..], b"behind"].concat());
}

/// What the thread that writes cannot write is counted, and the file ends with a whole record.
#[test]
fn a_full_disk_is_found_behind() {
    let folder = std::env::temp_dir().join(format!("skep-spool-behind-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let none = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("none", &folder, "tmpfs", none, Some(c"size=5m")).is_err() {
        let _ = std::fs::remove_dir(&folder);
        eprintln!("skipped: mounting needs root");
        return;
    }
    let path = folder.join("file");
    let mut spool = Spool::create(&path).unwrap();
    spool.direct = true;
    let (mut taken, mut failed) = (0u32, None);
    while taken < 1_000_000 && failed.is_none() {
        match put(&mut spool, &record(taken)) {
            Ok(()) => taken += 1,
            Err(error) => failed = error.raw_os_error(),
        }
    }
    // Nothing more is written, not even by who goes on.
    let again = put(&mut spool, b"more").and_then(|()| spool.flush()).is_err();
    let (lost, size) = (spool.lost(), spool.size());
    drop(spool);
    let written = std::fs::read(&path).unwrap();
    rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!((failed, again), (Some(libc::ENOSPC), true));
    assert_eq!(size, written.len() as u64);
    assert!(size > 4 << 20, "{size}");
    // All that were taken and the last one, but for the lost ones, are there.
    assert_eq!(written, numbered(u32::try_from(u64::from(taken) + 1 - lost).unwrap()));
}
