"""A certificate of our own for this machine, and the authority that clients are told to trust for it alone."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from outcrop.core.files import write_atomic

DAYS, RENEWED_BEFORE_DAYS = 397, 30
NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")


class Certificate(NamedTuple):
    """Files: the authority that clients trust, the server's certificate, and its key."""

    authority: Path
    certificate: Path
    key: Path


def loopback_certificate(folder: Path, names: tuple[str, ...] = ()) -> Certificate:
    """The certificate for this machine and further names, made if there is none, or if its time or names are over.

    The authority's key is thrown away: it has signed this certificate and will sign no other.
    """
    found = Certificate(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    if not all(file.exists() for file in found) or not _still_good(found.certificate, names):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(found, names)
    return found


def _still_good(file: Path, names: tuple[str, ...]) -> bool:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    has = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return left > timedelta(days=RENEWED_BEFORE_DAYS) and set(_alternatives(names)) == set(has)


def _make(files: Certificate, names: tuple[str, ...]) -> None:
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("Outcrop, this machine only")
    authority = (
        _builder(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name("Outcrop"), authority_name, key)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(files.key, private)
    write_atomic(files.authority, authority.public_bytes(serialization.Encoding.PEM))
    write_atomic(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(names: tuple[str, ...]) -> list[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    return [*(x509.DNSName(name) for name in (*NAMES, *names)), *addresses]


def _write_private(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as made:
        made.write(content)
