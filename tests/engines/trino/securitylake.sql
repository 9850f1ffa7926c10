-- Security Lake's table of CloudTrail's management events, AWS's source version 2: the columns of the Parquet of AWS's samples
-- (aws-samples/amazon-security-lake-ocsf-validation, samples/1.1.0/CLOUD_TRAIL, commits c828d8f and bb3c58b; all three
-- classes together), with what AWS's mapping has besides (ocsf/examples, AWS/v1.1.0/CloudTrail, commit 45c82e3: api.request.data,
-- api.response.data, actor.idp.uid), in Trino's names of types.
CREATE TABLE cloud_trail_mgmt_2_0 (
    metadata row(
        product row(version varchar, name varchar, vendor_name varchar, feature row(name varchar)),
        event_code varchar,
        uid varchar,
        profiles array(varchar),
        version varchar
    ),
    time bigint,
    time_dt timestamp(3),
    cloud row(region varchar, provider varchar),
    api row(
        response row(error varchar, message varchar, data varchar),
        operation varchar,
        version varchar,
        service row(name varchar),
        request row(uid varchar, data varchar)
    ),
    dst_endpoint row(svc_name varchar),
    resources array(row(uid varchar, owner row(account row(uid varchar)), type varchar)),
    actor row(
        "user" row(
            type varchar,
            name varchar,
            uid_alt varchar,
            uid varchar,
            account row(uid varchar),
            credential_uid varchar
        ),
        session row(created_time_dt timestamp(3), is_mfa boolean, issuer varchar),
        invoked_by varchar,
        idp row(name varchar, uid varchar)
    ),
    http_request row(user_agent varchar),
    src_endpoint row(uid varchar, ip varchar, domain varchar),
    session row(uid varchar, uid_alt varchar, credential_uid varchar, issuer varchar),
    policy row(uid varchar),
    "user" row(uid_alt varchar, uid varchar, name varchar),
    class_name varchar,
    class_uid integer,
    category_name varchar,
    category_uid integer,
    severity_id integer,
    severity varchar,
    status varchar,
    is_mfa boolean,
    activity_name varchar,
    activity_id integer,
    type_uid bigint,
    type_name varchar,
    observables array(row(name varchar, value varchar, type varchar, type_id integer)),
    unmapped map(varchar, varchar),
    accountid varchar,
    region varchar,
    asl_version varchar
)
