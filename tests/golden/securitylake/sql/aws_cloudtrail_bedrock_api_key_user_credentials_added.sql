    SELECT time / 1000 AS "time",
        metadata.uid AS "eventID",
        actor.user.uid AS "userIdentity.arn",
        cloud.region AS "awsRegion",
        actor.user.type AS "userIdentity.type",
        actor.user.name AS "userIdentity.userName",
        actor.user.credential_uid AS "userIdentity.accessKeyId",
        actor.session.issuer AS "userIdentity.sessionContext.sessionIssuer.arn",
        CASE actor.session.is_mfa WHEN true THEN 'true' WHEN false THEN 'false' END AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
        coalesce(src_endpoint.ip, src_endpoint.domain) AS "sourceIPAddress",
        src_endpoint.uid AS "vpcEndpointId",
        http_request.user_agent AS "userAgent",
        api.service.name AS "eventSource",
        api.operation AS "eventName",
        api.response.error AS "errorCode",
        element_at(unmapped, 'recipientAccountId') AS "recipientAccountId",
        json_extract_scalar(api.request.data, '$.userName') AS "requestParameters.userName"
    FROM amazon_security_lake_glue_db_us_east_1.amazon_security_lake_table_us_east_1_cloud_trail_mgmt_2_0
    WHERE time_dt >= CAST(? AS timestamp) AND time_dt < CAST(? AS timestamp) + INTERVAL '1' DAY
        AND (lower(api.service.name) = 'iam.amazonaws.com' AND (lower(api.operation) IN ('createaccesskey', 'createloginprofile', 'updateloginprofile')) AND (lower(json_extract_scalar(api.request.data, '$.userName')) LIKE 'aeaapikey-%' ESCAPE '\' OR lower(json_extract_scalar(api.request.data, '$.userName')) LIKE 'bedrockapikey-%' ESCAPE '\'))
ORDER BY "time", "eventID";
