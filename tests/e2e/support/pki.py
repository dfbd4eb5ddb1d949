"""Authorities and server certificates of a test: good ones, and wrong ones of every kind."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

YEAR = (-1, 364)
DECADE = (-100, 3650)


def days(count: float) -> datetime.datetime:
    """This many days from now, in whole seconds."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=count)
    return moment.replace(microsecond=0)


@dataclass
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def ends(self) -> datetime.datetime:
        return self.certificate.not_valid_after_utc


def authority(name: str, by: Signed | None = None, *, life: tuple[float, float] = DECADE) -> Signed:
    """An authority's certificate: a root, or vouched for by another."""
    return issue(name, by, life=life, ca=True)


def server(
    by: Signed | None = None,
    *,
    name: str = "lab.test",
    sans: Sequence[str] = ("lab.test", "*.lab.test", "127.0.0.1"),
    life: tuple[float, float] = YEAR,
    ca: bool = False,
    issuer_url: str | None = None,
) -> Signed:
    """A server's certificate, signed by itself unless somebody else does."""
    return issue(name, by, sans=sans, life=life, ca=ca, issuer_url=issuer_url)


def issue(
    name: str,
    by: Signed | None,
    *,
    life: tuple[float, float],
    ca: bool,
    sans: Sequence[str] = (),
    issuer_url: str | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Signed:
    """Any certificate; `life` is in days from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(days(life[0]))
        .not_valid_after(days(life[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    issuer = by.key.public_key() if by else public
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
    builder = builder.add_extension(identifier, critical=False)
    if sans:
        names = x509.SubjectAlternativeName([_general(san) for san in sans])
        builder = builder.add_extension(names, critical=False)
    if not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(usage, critical=False)
    if issuer_url:
        place = x509.UniformResourceIdentifier(issuer_url)
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return Signed(builder.sign(by.key if by else key, hashes.SHA256()), key)


def write(folder: Path, name: str, own: Signed, *others: Signed) -> tuple[Path, Path]:
    """Files as servers want them: the chain, the server's own first, and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_text("".join(signed.pem for signed in (own, *others)))
    key.write_bytes(
        own.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, key


def revoke(signed: Signed, by: Signed) -> bytes:
    """The issuer's OCSP response (DER) that says it has revoked a certificate."""
    response = ocsp.OCSPResponseBuilder().add_response(
        cert=signed.certificate,
        issuer=by.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.REVOKED,
        this_update=days(-1),
        next_update=days(1),
        revocation_time=days(-2),
        revocation_reason=x509.ReasonFlags.key_compromise,
    )
    response = response.responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate)
    return response.sign(by.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{common_name} Ltd"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
