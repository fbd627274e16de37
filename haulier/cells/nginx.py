"""Write the configuration of nginx, which takes each call to the cell of its id, or else of its API key."""

from __future__ import annotations

from haulier.cells.cells_toml import Cell, Cells

# Every value that is filled in was checked when cells.toml was read, so none needs quotes.
_CONFIGURATION = r"""
# Made by `haulier cells nginx` from cells.toml: change that file, not this one. Include it in http { }.

# The cell in an id: the last byte of a UUID of version 8. Those of version 7 were made before there were cells.
map $uri $haulier_id {
    "~*^/(?:jobs|operations|workers)/[0-9a-f-]{14}8[0-9a-f-]{19}(?<haulier_byte>[0-9a-f]{2})(?:/|$)" $haulier_byte;
    "~*^/(?:jobs|operations|workers)/[0-9a-f-]{14}7[0-9a-f-]{21}(?:/|$)" first;
}
map $http_authorization $haulier_key {
    "~*^bearer \s*hlr_(?<haulier_key_id>[a-z0-9]{12})_" $haulier_key_id;
}
map $haulier_key $haulier_by_key {
    default haulier_cell_%(default)d;
%(keys)s}
map $haulier_id $haulier_cell {
    default $haulier_by_key;
    first haulier_cell_%(default)d;
%(bytes)s}
map $http_x_request_id $haulier_request_id {
    default $request_id;
    "~^[A-Za-z0-9._:+/=-]{1,200}$" $http_x_request_id;
}

# For access_log: without the query, which may hold private data.
log_format haulier '$remote_addr $request_method $uri $status $upstream_addr $request_time $haulier_request_id';

# Idle connections of each nginx process. It closes them after 60 s, before the API does.
%(upstreams)s
server {
    include haulier.d/*.conf;  # yours, such as listen, certificates and access_log

    # The limits of the API; for lines and headers more, so that the API answers if they are too long.
    client_max_body_size 1m;
    client_body_buffer_size 256k;
    client_header_timeout 10s;
    large_client_header_buffers 8 16k;
    keepalive_timeout 95s;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-Id $haulier_request_id;
    proxy_connect_timeout 2s;
    proxy_read_timeout 60s;  # longer than the API's own deadlines
    proxy_buffer_size 16k;  # Link repeats the query
    proxy_buffers 8 16k;
    # Another server of the cell gets a call that could not be sent, or a GET whose server died, in the first 5 s. nginx
    # never repeats a POST or PATCH that was sent. It would repeat PUT and DELETE, so these go to @once.
    proxy_next_upstream error timeout;
    proxy_next_upstream_timeout 5s;

    error_page 413 @too_large;
    error_page 418 = @once;
    error_page 502 503 504 =503 @away;
    recursive_error_pages on;

    location / {
        if ($request_method ~ "^(?:PUT|DELETE)$") {
            return 418;
        }
        proxy_pass http://$haulier_cell;
    }
    location = /jobs/batch {
        client_max_body_size 16m;
        proxy_pass http://$haulier_cell;
    }
    location @once {
        proxy_next_upstream off;
        proxy_pass http://$haulier_cell;
    }
    location @too_large {
        default_type application/json;
        add_header X-Request-Id $haulier_request_id always;
        return 413 '{"error":"too_large","message":"%(too_large)s","request_id":"$haulier_request_id"}';
    }
    location @away {
        default_type application/json;
        add_header X-Request-Id $haulier_request_id always;
        add_header Retry-After 5 always;
        return 503 '{"error":"unavailable","message":"%(away)s","request_id":"$haulier_request_id"}';
    }
}
"""


def configuration(cells: Cells) -> str:
    """Return the configuration of nginx for these cells, to be included in its block http."""
    numbered = [(cell.number, cell) for cell in cells.cells]
    return _CONFIGURATION.lstrip() % {
        "default": cells.default,
        "keys": "".join(f"    {key} haulier_cell_{number};\n" for number, cell in numbered for key in cell.keys),
        "bytes": "".join(f"    {number:02x} haulier_cell_{number};\n" for number, _ in numbered),
        "upstreams": "".join(map(_upstream, cells.cells)),
        "too_large": "the body is too long: at most 1048576 bytes are allowed, for a batch 16777216",
        "away": "the cell of this call does not answer: try again",
    }


def _upstream(cell: Cell) -> str:
    # A server that has failed is left out for 2 s; if it is the only one, nginx tries it each time.
    servers = " ".join(f"server {server} fail_timeout=2s;" for server in cell.servers)
    return f"upstream haulier_cell_{cell.number} {{ {servers} keepalive 32; }}\n"
