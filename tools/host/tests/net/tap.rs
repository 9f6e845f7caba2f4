// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A NIC on a tap, with this machine's kernel at the other end.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use hvhost::net::frame::Mac;
use hvhost::testing::{FakeGuest, LIMIT};
use netvsc_wire::oid::PacketFilter;
use netvsc_wire::ppi::{SendChecksum, SendInfo, Verdict};

use super::driver::{Driver, Setup};
use super::frames::{arp_request, checksums_are_right, make_partial, udp};
use super::{counter, nic, GUEST};

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// Runs `test` on a thread with a network of its own; says so and does nothing where this process
/// may not make one.
fn in_own_network(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: no network of its own: {error}");
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The address of a frame's sender.
fn sender(frame: &[u8]) -> Mac {
    Mac(frame[6..12].try_into().unwrap())
}

#[test]
fn the_kernel_is_the_judge() {
    for queues in [1, 3] {
        in_own_network(move || {
            let mut add = vec!["tuntap", "add", "hvt9", "mode", "tap"];
            if queues > 1 {
                add.push("multi_queue");
            }
            ip(&add);
            ip(&["addr", "add", "10.0.0.2/24", "dev", "hvt9"]);
            ip(&["link", "set", "hvt9", "up"]);
            let guest = FakeGuest::new();
            let nic = nic(&guest, &format!("tap=hvt9,queues={queues}"));
            let mut driver = Driver::start(&guest, &Setup::default());
            if queues > 1 {
                driver.open_subchannels(queues - 1);
                driver.spread(queues);
            }
            // Who has the kernel's address?
            let ask = arp_request(GUEST, [10, 0, 0, 1], [10, 0, 0, 2]);
            let deadline = Instant::now() + LIMIT;
            let kernel = loop {
                // An interface that has just got its carrier loses what is sent for a moment.
                assert!(Instant::now() < deadline, "no ARP answer");
                driver.send_in_section(0, 0, &[(&ask, SendInfo::default())]);
                let answer = std::iter::from_fn(|| driver.frame(Duration::from_millis(200)))
                    .find(|got| got.bytes[12..14] == [8, 6] && got.bytes[20..22] == [0, 2]);
                if let Some(got) = answer {
                    break sender(&got.bytes);
                }
            };
            let socket = UdpSocket::bind("10.0.0.2:4000").unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            let mut buffer = vec![0; 2000];
            for n in 0..60u16 {
                // A checksum that the kernel has to complete.
                let payload = vec![n as u8; 10 + 20 * usize::from(n)];
                let mut frame = udp(GUEST, kernel, 5000 + n, 4000, &payload);
                make_partial(&mut frame);
                let info = SendInfo {
                    checksum: Some(SendChecksum {
                        ipv4: true,
                        udp: true,
                        transport_offset: 34,
                        ..SendChecksum::default()
                    }),
                    ..SendInfo::default()
                };
                let queue = usize::from(n) % queues as usize;
                driver.send_in_pages(queue, &frame, &info);
                let (bytes, from) = socket.recv_from(&mut buffer).expect("a datagram");
                assert_eq!(buffer[..bytes], payload);
                assert_eq!(from.to_string(), format!("10.0.0.1:{}", 5000 + n));
                // And back; the kernel may ask who the guest is first.
                socket.send_to(&payload, from).unwrap();
                loop {
                    let got = driver.frame(LIMIT).expect("an answer");
                    if got.bytes[12..14] == [8, 6] {
                        let mut answer = got.bytes.clone();
                        answer[..6].copy_from_slice(&kernel.0);
                        answer[6..12].copy_from_slice(&GUEST.0);
                        answer[21] = 2;
                        answer[22..28].copy_from_slice(&GUEST.0);
                        answer[28..32].copy_from_slice(&[10, 0, 0, 1]);
                        answer[32..38].copy_from_slice(&kernel.0);
                        answer[38..42].copy_from_slice(&[10, 0, 0, 2]);
                        driver.send_in_section(0, 0, &[(&answer, SendInfo::default())]);
                    } else if got.bytes.get(23) == Some(&17) {
                        assert!(got.bytes.ends_with(&payload));
                        assert_eq!(got.info.checksum.unwrap().udp, Verdict::Good);
                        let mut whole = got.bytes.clone();
                        hvhost::net::checksum::fill(&mut whole);
                        assert!(checksums_are_right(&whole));
                        break;
                    }
                }
            }
            assert_eq!(counter(&nic, "tx_errors"), 0);
            assert!(counter(&nic, "tx_checksum") >= 60);
            // The interface is removed under the NIC: no frames any more, everything else goes on.
            ip(&["link", "del", "hvt9"]);
            let frame = udp(GUEST, kernel, 1, 4000, b"lost");
            let id = driver.send_in_section(0, 0, &[(&frame, SendInfo::default())]);
            assert!(driver.completed(0, id).is_success());
            assert_eq!(counter(&nic, "tx_errors"), 1);
            driver.set_filter(PacketFilter::DIRECTED);
            driver.stop();
        });
    }
}
