//! Certificates for one server, made afresh.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Writes ca.pem, server.pem/.key, client.pem/.key and other-ca.pem, an authority that signed
/// none of them.
pub fn write_certs(dir: &Path) {
    let ca = authority("test authority", &dir.join("ca.pem"));
    authority("another authority", &dir.join("other-ca.pem"));
    sign(&ca, dir, "server", &["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth);
    sign(&ca, dir, "client", &[], ExtendedKeyUsagePurpose::ClientAuth);
}

fn authority(name: &str, path: &Path) -> Issuer<'static, KeyPair> {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

fn sign(
    ca: &Issuer<'_, KeyPair>,
    dir: &Path,
    name: &str,
    hosts: &[&str],
    purpose: ExtendedKeyUsagePurpose,
) {
    let mut params = params(name, hosts);
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, ca).unwrap();
    fs::write(dir.join(format!("{name}.pem")), cert.pem()).unwrap();
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
