"""What the kinds of the shop say while its deployment is bad. Not beside them: who imports these has them for good."""

BAD = {
    "deliver_hook": "ConnectTimeout: hooks.example.net:443 did not answer within 10.{n} s",
    "send_receipt": "TemplateNotFound: receipt-{n}.html",
    "draw_label": "ValueError: parcel {n} has no weight",
}
