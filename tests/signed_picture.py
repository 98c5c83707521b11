"""Pictures with a C2PA manifest, signed by a certificate made for the occasion."""

import io
import json
from datetime import UTC, datetime, timedelta


def signed(data, mime="image/jpeg"):
    """The picture ``data`` with a manifest that says that a model made it."""
    import c2pa

    certificates, key = _chain()
    signer = c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(alg=b"es256", sign_cert=certificates, private_key=key, ta_url=None)
    )
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    action = {"action": "c2pa.created", "digitalSourceType": source}
    manifest = {
        "claim_generator_info": [{"name": "made-for-a-test", "version": "1"}],
        "title": "A drawn picture",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    output = io.BytesIO()
    with c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign(signer, mime, io.BytesIO(data), output)
    return output.getvalue()


def _chain():
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usages = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )

    def certificate(name, key, issuer, issuer_key, *, authority):
        allowed = "key_cert_sign" if authority else "digital_signature"
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(**{usage: usage == allowed for usage in usages}), critical=True
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
        )
        if not authority:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purposes, critical=True)
        from cryptography.hazmat.primitives.hashes import SHA256

        return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.PEM)

    def name(common):
        from cryptography.x509.oid import NameOID

        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Camera Works"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    top = certificate(name("root"), root, name("root"), root, authority=True)
    own = certificate(name("leaf"), leaf, name("root"), root, authority=False)
    return own + top, leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
