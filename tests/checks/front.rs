//! What stands in front of a service in the tests: one port that speaks TLS with a certificate of openssl's making, and
//! answers who comes without TLS.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate for `shop.example`, names below it and 192.0.2.7, with its key, in PEM. None without openssl.
pub fn certificate(dir: &Path, days: u32) -> Option<()> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", &days.to_string(), "-keyout", "key.pem", "-out", "cert.pem"])
        .args(["-subj", "/O=Test CA/CN=shop.example"])
        .args(["-addext", "subjectAltName=DNS:shop.example,DNS:*.shop.example,IP:192.0.2.7"])
        .current_dir(dir)
        .output();
    made.ok().filter(|made| made.status.success()).map(drop)
}

pub struct Front {
    pub port: u16,
}

impl Front {
    /// Open until the tests end. Without TLS it leads to https, or answers.
    pub fn open(days: u32, leads: bool) -> Option<Front> {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path(), days)?;
        let cert = CertificateDer::from_pem_file(dir.path().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.path().join("key.pem")).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let config = config.clone();
                std::thread::spawn(move || stream.map(|stream| serve(stream, config, leads)));
            }
        });
        Some(Front { port })
    }
}

/// One answer. Who leaves in the middle, as one who does not trust the certificate, is nobody's trouble.
fn serve(mut stream: TcpStream, config: Arc<rustls::ServerConfig>, leads: bool) -> std::io::Result<()> {
    const WELL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    const LEADS: &[u8] = b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://shop.example/\r\n\
        Content-Length: 0\r\nConnection: close\r\n\r\n";
    let mut first = [0];
    let mut request = [0; 4096];
    if stream.peek(&mut first)? == 1 && first == [0x16] {
        let mut session = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
        let mut stream = rustls::Stream::new(&mut session, &mut stream);
        if stream.read(&mut request)? > 0 {
            stream.write_all(WELL)?;
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        return Ok(());
    }
    if stream.read(&mut request)? > 0 {
        stream.write_all(if leads { LEADS } else { WELL })?;
    }
    Ok(())
}
