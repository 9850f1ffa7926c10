    SELECT CAST(to_unixtime(from_iso8601_timestamp(eventtime)) AS bigint) AS "time",
        eventid AS "eventID",
        useridentity.arn AS "userIdentity.arn",
        awsregion AS "awsRegion",
        useridentity.type AS "userIdentity.type",
        useridentity.username AS "userIdentity.userName",
        useridentity.accesskeyid AS "userIdentity.accessKeyId",
        useridentity.sessioncontext.sessionissuer.arn AS "userIdentity.sessionContext.sessionIssuer.arn",
        useridentity.sessioncontext.attributes.mfaauthenticated AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
        sourceipaddress AS "sourceIPAddress",
        vpcendpointid AS "vpcEndpointId",
        useragent AS "userAgent",
        eventsource AS "eventSource",
        eventname AS "eventName",
        errorcode AS "errorCode",
        recipientaccountid AS "recipientAccountId",
        json_extract_scalar(requestparameters, '$.userName') AS "requestParameters.userName"
    FROM cloudtrail_logs_pp
    WHERE "timestamp" BETWEEN ? AND ?
        AND (lower(useridentity.type) = 'iamuser' AND (lower(useridentity.username) LIKE 'aeaapikey-%' ESCAPE '\' OR lower(useridentity.username) LIKE 'bedrockapikey-%' ESCAPE '\') AND NOT coalesce(lower(eventsource) IN ('agreement-marketplace.amazonaws.com', 'aws-external-anthropic.amazonaws.com', 'bedrock-mantle.amazonaws.com', 'bedrock.amazonaws.com', 'discovery-marketplace.amazonaws.com') OR lower(useridentity.invokedby) LIKE '%amazonaws.com' ESCAPE '\' OR lower(eventsource) = 'sts.amazonaws.com' AND lower(eventname) = 'getcalleridentity', false))
ORDER BY "time", "eventID";
