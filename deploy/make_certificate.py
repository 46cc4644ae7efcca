"""Make a self-signed certificate for nginx where there is none, so that the first start already speaks TLS.

For names in ALLOWED_HOSTS. Put a real certificate in its place (server.crt and server.key in the volume `tls`), or give
clients this one: `SSL_CERT_FILE=server.crt`.
"""

import datetime as dt
import ipaddress
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_DAYS = 825


def alternative_name(host: str) -> x509.GeneralName:
    """A host as a certificate names it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        # Django's ".example.org" means every name below
        return x509.DNSName(f"*{host}" if host.startswith(".") else host)


def make_certificate(hosts: list[str], key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    """A certificate that is its own authority."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "BoltzTrader mesh")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([alternative_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def main() -> int:
    """Write server.key and server.crt to BOLTZ_TLS_DIR unless they are there. Returns the exit code."""
    directory = Path(os.environ["BOLTZ_TLS_DIR"])
    certificate_file, key_file = directory / "server.crt", directory / "server.key"
    if certificate_file.exists() and key_file.exists():
        return 0
    hosts = [host for host in os.environ["ALLOWED_HOSTS"].split(",") if host]
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = make_certificate(hosts, key, dt.datetime.now(dt.UTC))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    print(f"made a self-signed certificate for {', '.join(hosts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
